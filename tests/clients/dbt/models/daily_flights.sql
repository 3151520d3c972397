{{ config(materialized='incremental', unique_key='flight_date') }}
select flight_date, sum(flights) as flights
from {{ ref('departures') }}
{% if is_incremental() %}
where flight_date >= (select max(flight_date) from {{ this }})
{% endif %}
group by flight_date
